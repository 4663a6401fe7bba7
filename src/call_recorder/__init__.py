"""Call recording on Sinch Voice (API v1), on AWS.

``handlers`` are the Lambda entry points, ``sinch`` is the vendor's protocol, ``recording`` is the domain and
``aws`` holds the adapters. ``sinch`` and ``recording`` know neither AWS nor Powertools.
"""
