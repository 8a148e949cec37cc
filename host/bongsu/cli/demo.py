"""`bongsu demo`."""

import click


@click.command()
@click.option(
    "--speed",
    type=click.FloatRange(1, 8),
    default=4.0,
    show_default=True,
    help="How fast the boards' time runs; 1 is real time and takes three minutes.",
)
@click.option("--keep", is_flag=True, help="Leave it running afterwards, until Ctrl-C.")
def demo(speed: float, keep: bool) -> int:
    """A fire in a market, from the sensor to the fire station.

    Two markets, eight shops with virtual boards on real MicroPython, a receiver with its broker over TLS, a fire
    station and a phone, all on this machine in a temporary folder. It ends by itself; exit code 0 only if the right
    shop, and only it, was dispatched, its owner texted, and the restore seen.
    """
    from bongsu.demo.run import run

    return run(click.echo, speed=speed, keep=keep)
