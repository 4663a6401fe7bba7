"""sinch: the protocol of Sinch Voice v1: callback signatures, callbacks and SVAML. It opens no connection."""
