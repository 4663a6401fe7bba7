"""Lambda entry points and their composition roots."""
