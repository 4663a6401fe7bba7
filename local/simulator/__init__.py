"""Simulates the Sinch platform: plays calls against a callback URL, local or deployed.

::

    simulator = Simulator(url, Application("key", SecretStr("c2VjcmV0")), public_path="/callbacks")
    played = simulator.play(phone_to_number("+12025550100"))
    assert played.held, played.failures

It follows Sinch's documents to the letter. Where they are silent, a comment says so.
"""

from local.simulator.calls import (
    Application,
    IncomingCall,
    app_to_app,
    app_to_conference,
    app_to_phone,
    app_to_sip,
    list_variants,
    parse_destination,
    phone_to_number,
)
from local.simulator.delivery import NOTIFICATIONS, UNDISTURBED, Delivery, Disturbance, drop
from local.simulator.platform import Answer, PlayedCall, Simulator, Step
from local.simulator.readings import LIKELIEST, Readings
from local.simulator.svaml import IllegalSvaml
from local.storage import StorageEndpoints, StoredFile
from local.transport import HttpTransport, NoResponse, Response, Transport

__all__ = [
    "LIKELIEST",
    "NOTIFICATIONS",
    "UNDISTURBED",
    "Answer",
    "Application",
    "Delivery",
    "Disturbance",
    "HttpTransport",
    "IllegalSvaml",
    "IncomingCall",
    "NoResponse",
    "PlayedCall",
    "Readings",
    "Response",
    "Simulator",
    "Step",
    "StorageEndpoints",
    "StoredFile",
    "Transport",
    "app_to_app",
    "app_to_conference",
    "app_to_phone",
    "app_to_sip",
    "drop",
    "list_variants",
    "parse_destination",
    "phone_to_number",
]
