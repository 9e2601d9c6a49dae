#!/usr/bin/env python3
"""front_net.py FRONT AGENT: /vm/{h}/net/chaos, /vm/{h}/net/stats and the cards in /metrics of the real front, with a stand-in for core. TAP."""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from client import Api  # noqa: E402
import fakecore  # noqa: E402
from fakecore import DESCRIBE, ITEM, Refused, Rig, T  # noqa: E402
from agent_wire import frame  # noqa: E402
from frames import Tap  # noqa: E402

tap = Tap()
NET, METRICS = 112, 52
KEYS = ["cut", "delay_us", "jitter_us", "loss_ppm", "rx_bytes_per_s", "tx_bytes_per_s", "rx_packets_per_s", "tx_packets_per_s"]
HEAL, FIRST, COUNTER = 192, 193, 201  # C_T_NET_HEAL, C_T_NET_CUT …, C_T_COUNTER
NOTHING = dict({key: 0 for key in KEYS}, cut=False)


def same(got, want, what):
    if not tap.ok(got == want, what):
        print("# got  %r\n# want %r" % (got, want), flush=True)


def counters(values):
    return [(COUNTER, frame(0, [(T["NAME"], name), (T["COUNT"], v)])[12:]) for name, v in values]


class Core(fakecore.FakeCore):
    chaos = [0] * len(KEYS)

    def answer(self, m):
        if m.kind == NET:
            self.vm(m)
            if m.num(HEAL):
                self.chaos = [0] * len(KEYS)
            for i in range(len(KEYS)):
                v = m.num(FIRST + i)
                if v is not None:
                    if v > 1 << 40:
                        raise Refused(400, "out of range")
                    self.chaos[i] = v
            return [(FIRST + i, v) for i, v in enumerate(self.chaos)] + counters([("rx_packets", 7), ("tx_lost", 1 << 40)]), []
        if m.kind == METRICS:
            for vm, n in ("demo-1", 5), ('o"dd-1', 6):
                self.chan.send(ITEM, [(T["VM"], vm), (T["GROUP"], "demo")] + counters([("rx_packets", n), ("tx_lost", n + 1)]), ident=m.id)
            self.chan.send(ITEM, [(T["VM"], "evil-1"), (T["GROUP"], "demo")] + counters([("rx{}\n", 1)]), ident=m.id)
            self.chan.send(ITEM, [(T["VM"], "bare-1"), (T["GROUP"], "demo")], ident=m.id)
            return [], []
        fields, fds = super().answer(m)
        if m.kind == DESCRIBE and any(self.chaos):
            fields = fields + [(FIRST + i, v) for i, v in enumerate(self.chaos)]
        return fields, fds


def case_chaos(rig, api):
    def patch(body, status=200):
        got, _, answer = api.call("PATCH", "/vm/demo-1/net/chaos", body)
        same(got, status, "%s: %d" % (json.dumps(body)[:60], status))
        return json.loads(answer) if status == 200 else answer.decode()

    same(api.get("/vm/demo-1/net/chaos"), NOTHING, "nothing at first")
    same(patch({"cut": True, "delay_us": 100000}), dict(NOTHING, cut=True, delay_us=100000), "two settings")
    asked = rig.core.asked[-1]
    same([asked.num(FIRST + i) for i in range(3)], [1, 100000, None], "only those are sent to core")
    same(patch({"cut": False, "loss_ppm": 50000, "tx_packets_per_s": 7}), dict(NOTHING, delay_us=100000, loss_ppm=50000, tx_packets_per_s=7), "the rest stays")
    same(api.get("/vm/demo-1")["network"]["chaos"]["loss_ppm"], 50000, "described")
    same(patch({}), dict(NOTHING, delay_us=100000, loss_ppm=50000, tx_packets_per_s=7), "no setting changes nothing")
    n = len(rig.core.asked)
    for body, word in (({"cut": 1}, "cut"), ({"delay_us": "5"}, "delay_us"), ({"delay_us": -1}, "delay_us"), ({"delay_us": 0.5}, "delay_us"), ({"lost": 5}, "lost"),
                       ([], "object"), ({"x" * 300: 1}, "setting")):
        tap.ok(word in patch(body, 400), "said: %s" % word)
    same(len([m for m in rig.core.asked[n:] if m.kind == NET and any(m.num(FIRST + i) is not None for i in range(8))]), 0, "nothing of that reaches core")
    tap.ok("out of range" in patch({"delay_us": 1 << 50}, 400), "core's own refusal is passed on")
    status, _, body = api.call("DELETE", "/vm/demo-1/net/chaos")
    same((status, json.loads(body)), (200, NOTHING), "healed")
    tap.ok("chaos" not in api.get("/vm/demo-1")["network"], "nothing to describe")
    for method in "GET", "DELETE":
        same(api.call(method, "/vm/none-1/net/chaos")[0], 404, "%s of no VM" % method)
    same(api.call("PUT", "/vm/demo-1/net/chaos", {})[0], 405, "no PUT")


def case_counters(rig, api):
    same(api.get("/vm/demo-1/net/stats"), {"rx_packets": 7, "tx_lost": 1 << 40}, "counters by name")
    text = api.call("GET", "/metrics")[2].decode().split("\n")
    cards = [line for line in text if "mica_vm_net_" in line]
    same(cards, ["# HELP mica_vm_net_rx_packets_total Of the VM's network card; rx: into the VM.", "# TYPE mica_vm_net_rx_packets_total counter",
                 'mica_vm_net_rx_packets_total{host_group="demo",hostname="demo-1"} 5', 'mica_vm_net_rx_packets_total{host_group="demo",hostname="o\\"dd-1"} 6',
                 "# HELP mica_vm_net_tx_lost_total Of the VM's network card; rx: into the VM.", "# TYPE mica_vm_net_tx_lost_total counter",
                 'mica_vm_net_tx_lost_total{host_group="demo",hostname="demo-1"} 6', 'mica_vm_net_tx_lost_total{host_group="demo",hostname="o\\"dd-1"} 7'],
         "a family a counter, all cards together, odd names left out")


fakecore.FakeCore = Core


def main():
    rig = Rig(sys.argv[1], sys.argv[2])
    api = Api(rig.api_sock)
    for case in case_chaos, case_counters:
        print("# " + case.__name__, flush=True)
        case(rig, api)
    same(rig.close(), 0, "front ends with core")
    return tap.done()


if __name__ == "__main__":
    sys.exit(main())
