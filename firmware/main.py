# Starts the node; everything else is in /lib/bongsu_node. It does nothing when it is imported.
import sys


def _start() -> None:
    import time

    import machine

    try:
        from bongsu_node import app

        app.main()
    except Exception as e:
        sys.print_exception(e)
    # Nothing that a node does ends. Start anew; after some such restarts it starts in safe mode.
    time.sleep(2)
    machine.reset()


if __name__ == "__main__" and not globals().get("service_mode"):
    _start()
