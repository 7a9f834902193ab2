"""A Sutro deployment in miniature, on loopback: for lessons, tests and trying things out.

::

    from sutro_magic.demo import DemoService

    with DemoService() as service:
        print(service.url, service.api_key)

or, from a shell, ``python -m sutro_magic.demo``.
"""

from sutro_magic.demo.service import DemoService

__all__ = ["DemoService"]
