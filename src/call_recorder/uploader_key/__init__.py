"""uploader_key: creates, hands out, replaces and deletes the access key with which Sinch uploads recordings."""
