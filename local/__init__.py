"""The call recorder on one machine: a local AWS, the deployed template, and Sinch as a simulator plays it."""
