"""A simulated day at internet scale: `make scale RATE=1000` (docs/decisions/0030).

The functions' own code answers a sample of the day's calls in virtual time, against a model of AWS's quotas. Each
sampled call stands for many (its ``weight``), and its load on a quota is the load of all of them.

- ``figures``: the quotas of AWS, durations, and the parameters of the stack, with their sources
- ``world``: the virtual clock, the loop of events, and the loads under the quotas
- ``services``: SSM, SQS, DynamoDB and EventBridge behind the adapters' port ``Operations``
- ``functions``: API Gateway, the environments of CallbackFunction, NotifyFunction behind its queue, WatchdogFunction
- ``day``: the story: the curve of calls, bursts, slow hours, a deployment, and what Sinch sends about each call
- ``results``: the end of each call, and the quotas that were exceeded
"""
