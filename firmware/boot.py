# Three seconds for service: Ctrl-C now (mpremote and `bongsu` do it) leaves a REPL and no watchdog, so that a board
# with any program on it can be reached over its serial line. Afterwards main.py starts the node.
#
# Service is what holds until the three seconds are over undisturbed: whenever Ctrl-C comes, and however often (tools
# send it twice), main.py finds service_mode set. This comes before anything else that Ctrl-C could break off.
service_mode = True  # main.py shares this namespace
if __name__ == "__main__":
    import time

    try:
        print("boot.py: 3 s for service, Ctrl-C to stop here")
        time.sleep_ms(3000)
        service_mode = False
    except KeyboardInterrupt:
        pass
    except Exception:  # a line that cannot be written to must not keep a node from starting
        service_mode = False
