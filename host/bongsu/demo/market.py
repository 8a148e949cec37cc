"""The demo's two markets: data. Owners are labels, not people; the numbers belong to a range that no operator gives
out."""

import csv
import io
from dataclasses import dataclass


@dataclass(frozen=True)
class Shop:
    """A shop with its owner and its board. `node`: a locally administered MAC."""

    site: str
    unit: str
    name: str
    place: str
    owner: str
    phone: str
    lang: str
    node: str

    @property
    def address(self) -> str:
        """How commands name it: "hannae/a-07"."""
        return f"{self.site}/{self.unit}"


@dataclass(frozen=True)
class Site:
    """A market."""

    id: str
    name: str
    english: str
    address: str


SITES = (
    Site("hannae", "한내시장", "Hannae Market", "한내로 12"),
    Site("dongbu", "동부시장", "Dongbu Market", "동부길 8"),
)
SHOPS = (
    Shop("hannae", "a-03", "A-03 채소", "1층 가동", "A-03 점주", "010-0000-0103", "ko", "02b0000000a3"),
    Shop("hannae", "a-07", "A-07 건어물", "1층 가동", "A-07 점주", "010-0000-0107", "ko", "02b0000000a7"),
    Shop("hannae", "b-02", "B-02 정육", "1층 나동", "B-02 점주", "010-0000-0202", "ko", "02b0000000b2"),
    Shop("hannae", "c-11", "C-11 떡집", "2층 다동", "C-11 점주", "010-0000-0311", "ko", "02b0000000c1"),
    Shop("dongbu", "d-01", "D-01 반찬", "1층 동문", "D-01 점주", "010-0000-0401", "ko", "02b0000000d1"),
    Shop("dongbu", "d-04", "D-04 의류", "1층 동문", "D-04 점주", "010-0000-0404", "ko", "02b0000000d4"),
    Shop("dongbu", "e-02", "E-02 spices", "1층 남문", "owner of E-02", "010-0000-0502", "en", "02b0000000e2"),
    Shop("dongbu", "e-09", "E-09 분식", "1층 남문", "E-09 점주", "010-0000-0509", "ko", "02b0000000e9"),
)
# Where it burns, and where somebody only lights a cigarette.
FIRE_UNIT, LIGHTER_UNIT = "hannae/a-07", "dongbu/d-04"
# The recorded fire: NIST's flaming upholstered chair (test SDC02), at the measuring station in the same room.
FIRE_NAME, FIRE_STATION = "SDC02", "E"


def shop(address: str) -> Shop:
    """The shop at "site/unit"."""
    return next(s for s in SHOPS if s.address == address)


def shop_list_csv(site: str) -> str:
    """The market's shop list, as an office would send it: a CSV file with Korean headers."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(["호수", "상호", "위치", "대표자", "연락처", "언어", "기기"])
    for s in SHOPS:
        if s.site == site:
            writer.writerow([s.unit, s.name, s.place, s.owner, s.phone, s.lang, s.node])
    return out.getvalue()
