"""Call recording on Sinch Voice (API v1), on AWS.

``functions`` are the Lambda entry points and ``adapters`` call AWS. ``answering`` decides what a caller gets,
``tracking`` what happens to a recording, and ``uploader_key`` rotates the key that Sinch uploads with. They meet in
``facts``. ``sinch`` is the vendor's protocol. A room imports the rooms below it only (docs/decisions/0026).
"""
