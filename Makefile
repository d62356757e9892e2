# Each target sets up what it needs; nothing has to be installed first.

SUITES ?= static docs unit functional lifecycle upgrade cloud ceph

# Of make drills: which, a regular expression, and more for tests.drills
DRILLS ?=
DRILLS_ARGS ?=

# Of make upgrade-test: which, a regular expression
UPGRADES ?=

# Of make flavor-test: numbers of combinations; none: all
FLAVORS ?=

# Of make guest-test: which guests, or rows of them (GROUP.ROW); none: all
GUESTS ?=

# Of make test-releases: which series of OpenStack; none: all
RELEASES ?=

# Of make fuzz: how long each target runs, and which; none: all
SECONDS ?= 60
TARGETS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test cloud-test ceph-test nova-test test-releases upgrade-test flavor-test guest-test long-test move-test drills fuzz genconfig clean

help:
	@echo 'make demo       boot stock and FlexMem guests of one image, compare'
	@echo '                (options: make demo DEMO_ARGS="--help";'
	@echo '                in an OpenStack cloud of its own: make demo CLOUD=1)'
	@echo 'make test       all checks and tests that this machine can run'
	@echo '                (a part: make test SUITES="unit"; all: $(SUITES))'
	@echo 'make cloud-test all tests of a cloud with two hosts on this machine'
	@echo 'make ceph-test  all tests with root disks in a Ceph on this machine'
	@echo 'make nova-test  the tests of its libvirt driver that come with Nova, on'
	@echo '                the FlexMem driver'
	@echo 'make test-releases'
	@echo '                unit, inertness and lifecycle tests with other releases'
	@echo '                of Nova, with a table; hours'
	@echo '                (make test-releases RELEASES="2025.1")'
	@echo 'make upgrade-test'
	@echo '                deltas on layouts of other releases, and what the'
	@echo '                release before left, with a table; half an hour'
	@echo 'make long-test  the tests with guests that take longest; hours'
	@echo 'make move-test  servers that are moved live, with QEMU and libvirt of'
	@echo '                the backports on both hosts, then on one; hours'
	@echo 'make flavor-test'
	@echo '                guests of all kinds of flavors, any two values of two'
	@echo '                properties together in one, with a table; half an hour'
	@echo '                (make flavor-test FLAVORS="3 7")'
	@echo 'make guest-test what software expects of a server, with packages of'
	@echo '                Debian in guests, with a table; hours'
	@echo '                (make guest-test GUESTS="files tools.lmdb")'
	@echo 'make drills     fault drills: kill -9, full and broken disks and more,'
	@echo '                with a table of what came of them; takes about an hour'
	@echo '                (make drills DRILLS="killed|manifest")'
	@echo 'make fuzz       fuzz the parsers of what tenants have a say in'
	@echo '                (make fuzz SECONDS=600 TARGETS="disk menu")'
	@echo 'make genconfig  write the sample configuration again'
	@echo 'make clean      remove what these targets made in this tree'

ifdef CLOUD
demo:
	@tools/setup.sh demo test cloud
	.venv/bin/python -m tools.cloud.demo $(DEMO_ARGS)
else
demo:
	@tools/setup.sh demo
	.venv/bin/nova-flexmem demo $(DEMO_ARGS)
endif

test:
	@tools/setup.sh demo test cloud ceph
	@tools/test.sh $(SUITES)

cloud-test:
	@tools/setup.sh demo test cloud ceph
	@tools/test.sh cloud-all

ceph-test:
	@tools/setup.sh demo test ceph
	@tools/test.sh ceph-all lifecycle-ceph

nova-test:
	@tools/setup.sh demo test
	@tools/test.sh nova

test-releases:
	@tools/setup.sh demo test
	.venv/bin/python -m tests.releases $(RELEASES)

upgrade-test:
	@tools/setup.sh demo test
	.venv/bin/python -m tests.upgrade $(UPGRADES)

long-test:
	@tools/setup.sh demo test cloud ceph
	@tools/test.sh functional-long lifecycle-long cloud-long

move-test:
	@tools/setup.sh demo test cloud
	@tools/test.sh moves moves-mixed

flavor-test:
	@tools/setup.sh demo test
	.venv/bin/python -m tests.flavors $(FLAVORS)

guest-test:
	@tools/setup.sh demo test
	.venv/bin/python -m tests.guests $(GUESTS)

drills:
	@tools/setup.sh demo test drills
	.venv/bin/python -m tests.drills $(DRILLS_ARGS) $(DRILLS)

fuzz:
	@tools/setup.sh test fuzz
	.venv/bin/python -m tests.fuzz --seconds $(SECONDS) $(TARGETS)

genconfig:
	@tools/setup.sh demo test
	.venv/bin/oslo-config-generator \
	    --config-file etc/nova-flexmem/config-generator.conf

clean:
	rm -rf .venv .releases .stestr .tox .mypy_cache .coverage .coverage.* cover
	rm -rf build dist .eggs nova_flexmem.egg-info AUTHORS ChangeLog
	rm -rf doc/build releasenotes/build demo-results
	find nova_flexmem tests -name __pycache__ -type d -exec rm -rf {} +
