# Three seconds for service: Ctrl-C now (mpremote and `bongsu` do it) leaves a REPL and no watchdog, so that a board
# with any program on it can be reached over its serial line. Afterwards main.py starts the node.
import time

service_mode = False
if __name__ == "__main__":
    try:
        print("boot.py: 3 s for service, Ctrl-C to stop here")
        time.sleep_ms(3000)
    except KeyboardInterrupt:
        service_mode = True  # main.py shares this namespace
