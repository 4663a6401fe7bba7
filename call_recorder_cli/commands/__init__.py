"""The commands, one module for each group of them. A module is loaded when one of its commands is used."""
