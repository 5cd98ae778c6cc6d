#!/bin/bash
# Prints the reference of a snapshot, as which test hosts of a group begin, and makes it first where there is none.
# Progress: standard error.
#   snapshot.sh cart|user|rabbitmq   the neighbour, prepared
#   snapshot.sh payment              a payment host that site.yml has provisioned, with a release from S3
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")"
. ./common.bash

cache=../.cache/testbed
group=$1
if [[ $group == payment ]]; then
    name=snapshot-payment subnet=10.84.255 groups=(payment) begin=cart,user,rabbitmq s3=true
    playbooks=(create.yml publish.yml ../playbooks/site.yml)
    made_of=(../ansible.cfg ../files/payment ../inventories/demo ../playbooks ../roles ../scripts .)
else
    name=snapshot-neighbours subnet=10.84.254 groups=(cart user rabbitmq) begin="" s3=false
    playbooks=(create.yml prepare.yml)
    made_of=(../ansible.cfg ../inventories/demo ../roles/app_firewall .)
fi

say() { echo "snapshot: $*" >&2; }

# The password of RabbitMQ is made up, and a part of both.
snapshot_of() {
    echo "$prefix/snapshot-$1:$({
        ./image.sh 2>/dev/null
        cat $cache/amqp_password 2>/dev/null || :
        find "${made_of[@]}" -type f ! -name '*.pyc' ! -name '*.md' -exec sha256sum {} + | sort
    } | hash_of)"
}

play() {
    MOLECULE_SCENARIO_NAME=$name TESTBED_SUBNET=$subnet TESTBED_SNAPSHOTS=$begin TESTBED_S3=$s3 \
        AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_CA_BUNDLE=$PWD/$cache/s3-$name.pem ANSIBLE_CONFIG=../ansible.cfg \
        ansible-playbook --inventory ../inventories/demo --limit "$(IFS=, && echo "${groups[*]}")" "$@" </dev/null
}

make_snapshots() {
    local log each container
    ! present "$(snapshot_of "$group")" || return 0
    say "${groups[*]}, to be made"
    log=$(mktemp --suffix=-snapshot.log)
    trap 'play destroy.yml >/dev/null 2>&1' EXIT
    if ! play destroy.yml "${playbooks[@]}" >"$log" 2>&1; then
        tail --lines=40 "$log" >&2
        fail "${groups[*]} could not be made, see $log"
    fi
    rm "$log"
    for each in "${groups[@]}"; do
        container=skillupworks-payment-$name-$each-1
        ./podman stop --time=60 "$container" >/dev/null
        ./podman commit --quiet --pause=false "$container" "$(snapshot_of "$each")" >/dev/null
        remove_all_but "$(snapshot_of "$each")"
    done
}

locked "${playbooks[-1]}" make_snapshots
snapshot_of "$group"
