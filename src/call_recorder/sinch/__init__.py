"""The Sinch Voice v1 protocol: callback signatures, callbacks in, SVAML out. Depends on nothing else here."""
