"""uploader_key: the access key with which Sinch uploads recordings: when it is replaced, and how."""
