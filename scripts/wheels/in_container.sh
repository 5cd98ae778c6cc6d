# Fills /wheels with the locked requirements as wheels, a list of them with their own hashes, and what they were built on.
set -euo pipefail
shopt -s nullglob
export SOURCE_DATE_EPOCH=315532800 # the earliest time that a zip can hold
export UWSGI_PROFILE=pyonly        # as on a host that compiles it
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1

dnf --quiet --assumeyes install python3.11 python3.11-pip python3.11-devel gcc
python3.11 -m venv /build/venv
/build/venv/bin/pip install --quiet --require-hashes --requirement /build/requirements.txt
/build/venv/bin/pip download --quiet --no-build-isolation --require-hashes --dest /wheels --requirement /build/app.txt

# Source packages are built at a fixed path: the compiler's output holds it, and pip's own would be a random one.
cd /wheels
for source in *.tar.gz; do
    mkdir "/build/${source%.tar.gz}"
    tar --extract --file "$source" --strip-components 1 --directory "/build/${source%.tar.gz}"
    /build/venv/bin/pip wheel --quiet --no-build-isolation --no-deps --no-index --wheel-dir /wheels "/build/${source%.tar.gz}"
    rm "$source"
done
for wheel in *.whl; do
    IFS=- read -r name version _ <<<"$wheel"
    echo "$name==$version --hash=sha256:$(sha256sum "$wheel" | cut --characters=1-64)"
done >requirements.txt
(. /etc/os-release && echo "$PRETTY_NAME") >BUILT_ON
