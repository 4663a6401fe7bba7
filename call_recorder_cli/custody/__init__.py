"""Chooses recordings and has CustodyFunction erase them, or put them under a legal hold."""
