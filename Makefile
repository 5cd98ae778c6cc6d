SHELL := /bin/bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.venv/bin:$(PATH)
# Ansible is some thousand modules, compiled at their first use: kept here, whatever the environment says of that.
export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache
unexport PYTHONDONTWRITEBYTECODE
INVENTORY ?= inventories/demo
# The test bed's S3 takes any credentials, and has a certificate of its own.
TESTBED := PYTHONPATH=$(CURDIR)/testbed/python KEEP_COMPILED=$(CURDIR)/.cache \
    AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_CA_BUNDLE=$(CURDIR)/.cache/testbed/s3-demo.pem \
    ansible-playbook --inventory inventories/demo

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: ## From nothing to a paid order, on containers of this machine
	@$(MAKE) --no-print-directory --jobs=4 .demo-hosts .wheels
	@$(TESTBED) testbed/publish.yml playbooks/site.yml playbooks/verify.yml testbed/demo.yml
	@cat .cache/testbed/demo.txt

.demo-hosts: .setup-controller .s3-image
	@$(TESTBED) testbed/create.yml testbed/prepare.yml

demo-down: .setup-controller ## Remove all that the demo started
	@$(TESTBED) testbed/destroy.yml

check: ## Before each commit: lint, unit and project tests, without containers, broker or database
	@$(MAKE) --no-print-directory --jobs=2 .setup-controller .setup-app
	@scripts/test.py lint unit project

test: ## Run every test: lint, project, app, Molecule scenarios
	@$(MAKE) --no-print-directory --jobs=2 .setup-controller .setup-rest
	@scripts/test.py lint project app roles

lint: .setup-controller ## Check the style of playbooks, YAML and Python
	@scripts/test.py lint

ONLY := $(if $(TEST),--only="$(TEST)")
test-app: .setup-controller .setup-app .setup-services ## Test the app alone, with a RabbitMQ of its own, or TEST=<part of a name>
	@scripts/test.py $(ONLY) app

test-roles: .setup-controller .setup-testbed ## Run the Molecule scenarios, or SCENARIO=shop, or of that TEST=test_rollback
	@scripts/test.py $(ONLY) $(or $(SCENARIO),roles)

soak: .setup-controller .setup-app .setup-services ## The app's fault scenarios in random order, for SOAK_MINUTES=10
	@SOAK_MINUTES=$(or $(SOAK_MINUTES),10) .venv-app/bin/pytest -s tests/app/test_exactly_once.py

bench: .setup-controller .setup-app .setup-services ## Measure payments beside PEER=<folder of a WSGI app payment:app>; LONG=1 takes longer
	@.venv-app/bin/python bench/compare.py $(if $(PEER),--peer $(PEER)) $(if $(LONG),--rounds 5 --seconds 5)
	@$(if $(LONG),.venv-app/bin/python bench/growth.py)

bench-provision: .setup-controller .setup-testbed ## Time site.yml on one host and on ten, beside the guide's commands: ROUNDS=3
	@bench/provision.py --rounds $(or $(ROUNDS),3)

verify: .setup-controller ## Check the hosts of INVENTORY=inventories/production; the page is results/verify.html
	@ansible-playbook --inventory $(INVENTORY) playbooks/verify.yml

verify-deep: .setup-controller ## Run the tests of tests/hosts that only read on the hosts of INVENTORY
	@pytest -p no:cacheprovider tests/hosts --hosts=ansible://payment --ansible-inventory=$(INVENTORY) --connection=ansible -m "not disruptive"

diagnose: .setup-controller ## Say why the hosts of INVENTORY do not do well, and what puts it right
	@ansible-playbook --inventory $(INVENTORY) playbooks/diagnose.yml

restart: .setup-controller ## Restart the service host by host, each drained meanwhile
	@ansible-playbook --inventory $(INVENTORY) playbooks/restart.yml

AD_HOC := ansible --inventory $(INVENTORY) --become --module-name ansible.builtin.command
status: .setup-controller ## Show systemd's status of the service on every host
	@$(AD_HOC) --args "systemctl status --no-pager --lines=3 payment.socket payment.service" payment

logs: .setup-controller ## Show the last lines of every host's log: LINES=50
	@$(AD_HOC) --args "journalctl --unit=payment.service --no-pager --lines=$(or $(LINES),50)" payment

queue: .setup-controller ## List the queues on the RabbitMQ hosts: type, messages, consumers
	@$(AD_HOC) --args "rabbitmqctl list_queues name type durable messages consumers" rabbitmq

bundle: .setup-controller ## Pack a release into dist/: VERSION=1.2.0, with WHEELS=1 for hosts without compiler and index
	@$(if $(filter 1,$(WHEELS)),scripts/setup.sh testbed && )scripts/bundle.sh

publish: .setup-controller ## Upload a packed release to S3: VERSION=1.2.0 BUCKET=releases
	@scripts/publish.sh

lock: .setup-controller ## Resolve the requirements.in files anew
	@for file in requirements.in {files/payment,tests/app,scripts/wheels,testbed/s3}/requirements.in; do scripts/lock.sh $$file; done

OURS := --quiet --filter name=skillupworks-payment-
clean: ## Remove all that demo and tests made: hosts, networks, images, environments, results
	@! type -P podman >/dev/null || { \
	    testbed/podman ps --all $(OURS) | xargs -r testbed/podman rm --force --time 2; \
	    testbed/podman network ls $(OURS) | xargs -r testbed/podman network rm; \
	    testbed/podman images --quiet --filter reference='localhost/skillupworks-payment/*' | sort -u | xargs -r testbed/podman rmi --force; }
	rm -rf .venv .venv-app .cache dist results

# Parts of the commands above. They run side by side where one does not need the other.
SETUPS := .setup-controller .setup-app .setup-services .setup-testbed
$(SETUPS): .setup-%:
	@scripts/setup.sh $*

# One after the other, as all of it needs the package manager; the image meanwhile.
.setup-rest: .setup-testbed
	@testbed/image.sh >/dev/null & scripts/setup.sh services app && wait $$!

.image: .setup-testbed
	@testbed/image.sh >/dev/null

.s3-image: .image
	@testbed/image.sh s3 >/dev/null

.wheels: .image
	@scripts/wheels/build.sh >/dev/null

.PHONY: help demo demo-down check test lint test-app test-roles soak bench bench-provision verify verify-deep diagnose restart status logs queue bundle publish lock clean $(SETUPS) .setup-rest .image .s3-image .wheels .demo-hosts
