#!/usr/bin/env python3
"""core_kernels.py CORE: the key `kernel` in the real core between the made-up peers of core_fake.py: which file a VM's process is given, with which
command line, what is refused where the kernel full is not there, and what becomes of a group that names it. TAP."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import core_fake  # noqa: E402
from core_fake import C_GROUPS, C_LOGS, OK, T_NAME, T_VM, VT_CMDLINE, VT_KERNEL, World, ok, refused, says  # noqa: E402
from core_groups import C_CREATE_GROUP, keys  # noqa: E402

T_KERNEL = 170
CONFIG = '''config:
  kernel: full
  host_groups:
  - {name: big, count: 0, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  - {name: small, kernel: min, count: 0, ram_mb: 64, storage_size: 4M, network: {mode: none}}
  api: {port: %d}
'''
PLAIN = CONFIG.replace('  kernel: full\n', '')


class Vmm(core_fake.Vmm):
    def boot(self, m):
        """Says on its console what it was given: our copy is written before core is told that it runs."""
        fd = m.fds[m.num(VT_KERNEL)]
        os.write(m.fds[m.num(core_fake.VT_CONSOLE)], b'kernel=%s cmdline=%s\n' % (os.pread(fd, 20, 0), m.str(VT_CMDLINE).encode()))
        super().boot(m)


core_fake.Vmm = Vmm


def console(w, vm):
    m = w.ask(C_LOGS, (T_VM, vm))
    if m.type != OK:
        return says(m)
    text = os.read(m.fds[0], 4000).decode()
    os.close(m.fds[0])
    return text


def make(w, group):
    m = w.create(group)
    return console(w, m.str(T_VM)) if m.type == OK else says(m)


def groups(w):
    return {m.str(T_NAME): m.str(T_KERNEL) for m in w.items(C_GROUPS)}


def test_there(w):
    big, small = make(w, 'big'), make(w, 'small')
    ok('kernel=\x7fELF full ' in big and 'spec_rstack_overflow' not in big, 'a group of full gets that kernel, which keeps its mitigations', big)
    ok('kernel=\x7fELF cmdline' in small and 'spec_rstack_overflow=off' in small, 'one of min gets the other', small)
    ok(groups(w) == {'big': 'full', 'small': 'min'}, 'the list of groups says which', groups(w))
    m = w.ask(C_CREATE_GROUP, *keys({'name': 'api', 'kernel': 'full', 'ram_mb': 64, 'storage_size': '4M', 'network': {'mode': 'none'}}))
    ok(m.type == OK and m.str(T_KERNEL) == 'full', 'a group by the API', says(m))
    ok('kernel=\x7fELF full ' in make(w, 'api'), 'has it, too')
    m = w.ask(C_CREATE_GROUP, *keys({'name': 'x', 'kernel': 'huge'}))
    ok(refused(m, 400, "there is no kernel 'huge'"), 'an unknown one is refused', says(m))


def test_gone(w):
    """The next core is of a build without full."""
    w.full = None
    w.kill9()
    w.start(config=PLAIN % w.port)
    ok(any("'api'" in x and 'not in this build' in x for x in w.lines), 'a group that the API made is not served without its kernel, and that is said', w.lines)
    ok('api' not in groups(w) and any(n.startswith('api') for n in os.listdir(os.path.join(w.state, 'groups'))), 'it is kept', groups(w))
    m = w.ask(C_CREATE_GROUP, *keys({'name': 'y', 'kernel': 'full'}))
    ok(refused(m, 400, 'make full') and '[E_KERNEL_ABSENT]' in says(m), 'another is refused, with what to do', says(m))
    ok('kernel=\x7fELF cmdline' in make(w, 'small'), 'other groups go on')


def test_emulated(w):
    w.flavour = 'emulated'
    w.kill9()
    w.start(config=PLAIN % w.port)
    m = w.ask(C_CREATE_GROUP, *keys({'name': 'z', 'kernel': 'full'}))
    ok(refused(m, 400, 'needs VMX or SVM') and '[E_KVM_EMULATED]' in says(m), 'where KVM emulates, full is refused', says(m))
    ok(groups(w) == {'big': 'emulated', 'small': 'emulated'}, 'and min means what boots there', groups(w))


def main():
    w = World()
    with core_fake.told(w):
        full = os.path.join(w.root, 'full')
        with open(full, 'wb') as f:
            f.write(b'\x7fELF full ' + bytes(40))
        w.full = full
        w.start(config=CONFIG % w.port)
        test_there(w)
        test_gone(w)
        test_emulated(w)
    print(f'1..{core_fake.count}')
    return 1 if core_fake.failed else 0


if __name__ == '__main__':
    sys.exit(main())
