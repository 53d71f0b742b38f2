"""The measuring tools: ``perf-msgr-server`` and ``perf-msgr-client``.

They are riders on the public names of ``ceph_msgr`` and on nothing else, so they also show how it is used.
"""
