from hypothesis import settings

# How long one example takes says something of the machine and nothing of the code.
settings.register_profile("contract", deadline=None)
settings.load_profile("contract")
