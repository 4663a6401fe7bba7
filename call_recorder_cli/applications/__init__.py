"""The Sinch applications of a stack: their parameters, the callback URL that Sinch has, and the uploader's key."""
