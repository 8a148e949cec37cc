"""node.json on a board: compared there, and written, without anything secret coming back over the line.

A document is compared by the SHA-256 of a form of it that is the same under CPython and MicroPython; when it was
provisioned does not count. Networks that are not named again stay, and only the board reads them.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from bongsu.install.application import File
from bongsu.install.bundle import json_bytes
from bongsu.install.link import LinkError
from bongsu.install.on_board import Runs, understood
from bongsu.install.transfer import Files

PATH = "/node.json"
_PART = "/node.part"
_TIME, _WIFI = "provisioned_s", "wifi"

_TOOLS = """
import gc,json,os
def Z(v):
 if isinstance(v,dict):
  return '{'+''.join([Z(k)+Z(v[k]) for k in sorted(v)])+'}'
 if isinstance(v,list):
  return '['+''.join([Z(x) for x in v])+']'
 if isinstance(v,str):
  return '"%d:%s'%(len(v.encode()),v)
 if isinstance(v,float):
  return '%d~'%int(v*100+0.5)
 return str(v)+';'
def Y(c,*no):
 import hashlib
 c={k:c[k] for k in c if k not in no}
 h=getattr(hashlib,'sha256',None)
 return ''.join(['%02x'%b for b in h(Z(c).encode()).digest()]) if h else ''
def J(p):
 try:
  with open(p) as f:
   c=json.load(f)
 except (OSError,ValueError):
  return {}
 return c if isinstance(c,dict) else {}
"""

_READ = """
c=J('/node.json')
w=c.get('wifi')
print(json.dumps([{k:c.get(k) for k in ('node','board','role','provisioned_s')},
len(w) if isinstance(w,list) else 0,Y(c,'provisioned_s'),Y(c,'provisioned_s','wifi')]))
del c,w
gc.collect()
"""

# The networks go over from the old document to the new one.
_MERGE = """
c=J('/node.part')
c['wifi']=J('/node.json')['wifi']
with open('/node.json.new','w') as f:
 json.dump(c,f)
del c
os.rename('/node.json.new','/node.json')
os.remove('/node.part')
gc.collect()
"""


@dataclass(frozen=True, slots=True)
class Standing:
    """What node.json on a board says, and how many networks it knows; nothing of it is checked. whole, rest: hashes of
    it, with and without its networks; "" where the board cannot compute them.
    """

    node: object
    board: object
    networks: int
    whole: str
    rest: str

    def is_of(self, node_id: str) -> bool:
        """Whether it is this node's."""
        return self.node == node_id


def read(link: Runs) -> Standing:
    """Look at it; one that is missing or damaged says nothing."""
    link.tools(_TOOLS)
    found = link.value(_READ)
    with understood():
        named, networks, whole, rest = found
        return Standing(named["node"], named["board"], int(networks), whole, rest)


def write(link: Runs, files: Files, document: dict[str, Any], standing: Standing) -> int:
    """Make node.json say `document`; without "wifi" in it the networks of `standing` stay. Returns the bytes that went
    over the line; 0: it says so already.
    """
    keeps = _WIFI not in document
    if (standing.rest if keeps else standing.whole) == _digest(document):
        return 0
    content = json_bytes(document)
    files.put(File.of(_PART if keeps else PATH, content), secret=True)
    if keeps:
        link.tools(_TOOLS)
        link.run(_MERGE, secret=True)
        if standing.rest and read(link).rest != _digest(document):
            raise LinkError(f"{PATH} did not arrive whole on the board", "Run this again.")
    return len(content)


def _digest(document: dict[str, Any]) -> str:
    counted = {name: value for name, value in document.items() if name != _TIME}
    return hashlib.sha256(_form(counted).encode()).hexdigest()


def _form(value: object) -> str:
    """As Z() on the board."""
    if isinstance(value, dict):
        return "{" + "".join(_form(key) + _form(value[key]) for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + "".join(map(_form, value)) + "]"
    if isinstance(value, str):
        return f'"{len(value.encode())}:{value}'
    if isinstance(value, float):
        return f"{int(value * 100 + 0.5)}~"
    return f"{value};"
