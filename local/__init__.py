"""Runs the call recorder on one machine: a local AWS, the deployed template and a simulator of Sinch."""
