"""Is the nuisance model at least as hard as reality? Counts what a plain detector would do in a market's shop-days and
compares it with Uiwang's first year (data/nuisance.toml, [calibration]).

usage: python tools/check_nuisance.py [--days N] [--seed N]          exit code 1: the model is too easy
"""

import argparse
import sys
from collections import Counter

from bongsu.sim import nuisance


def main() -> int:
    """Print the check."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--days", type=int, default=1000, help="shop-days (default 1,000)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    count: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    plain: Counter[str] = Counter()
    days: Counter[str] = Counter()
    redrawn = 0
    peaks: dict[str, list[float]] = {kind: [] for kind in nuisance.kinds()}
    for shop, exposures in nuisance.market_days(args.days, args.seed):
        days[shop] += 1
        for found in exposures:
            count[found.kind] += 1
            seconds[found.kind] += round(found.track.end_s)
            redrawn += found.redrawn
            peaks[found.kind].append(max(found.track.columns["smoke_od_per_m"]))
            if nuisance.plain_alarm_s(found.track) is not None:
                plain[found.kind] += 1
                plain[shop] += 1
    print(f"{args.days} shop-days, seed {args.seed}: " + ", ".join(f"{n} {shop}" for shop, n in days.items()))
    print(f"{'kind':<10}{'exposures':>10}{'hours':>8}{'plain':>7}   smoke peak 1/m: median, p99, most")
    for kind, tops in peaks.items():
        if not tops:
            continue
        tops.sort()
        shown = ", ".join(f"{tops[int(share * (len(tops) - 1))]:.3f}" for share in (0.5, 0.99, 1))
        print(f"{kind:<10}{count[kind]:>10}{seconds[kind] / 3600:>8.0f}{plain[kind]:>7}   {shown}")
    for shop, n in days.items():
        print(f"plain alarms in {shop}: {plain[shop]} in {n} days")
    rate = sum(plain[kind] for kind in nuisance.kinds()) / args.days
    real = nuisance.data().calibration["plain_alarms_per_shop_day"]
    print(f"drawn anew as fires: {redrawn}")
    print(f"plain detector: {rate:.4f} alarms per shop-day; a real market (Uiwang, first year): {real:.4f}")
    return 0 if rate >= real else 1


if __name__ == "__main__":
    sys.exit(main())
