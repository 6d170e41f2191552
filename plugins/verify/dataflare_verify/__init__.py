"""The conformance kit: ``dataflare plugin verify`` checks a plugin against what it says of itself.

``subject`` loads a wheel or a folder as the host would, ``examples`` reads what its components are tried on,
``sources``, ``processors``, ``sinks``, ``tools``, ``crashes`` and ``whole`` hold the cases: each is a method ``test_…``
of a suite, so a suite of ``dataflare.testing`` brings its own. ``trying`` runs them, ``report`` tells.
"""
