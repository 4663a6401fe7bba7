"""Looks for what is commonly wrong with a stack. It reads only, and each finding says what to do."""
