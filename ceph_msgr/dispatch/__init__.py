"""From received messages to the user's callbacks: the dispatcher interface, the chain of dispatchers, the queues
before it."""
