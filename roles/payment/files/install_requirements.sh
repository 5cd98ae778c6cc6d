# Run in the folder of a release: its requirements, as they are locked, in a virtual environment of the release's own.
#
# What has wheels runs nothing while it is installed. uWSGI has none: it is compiled meanwhile, with the platform's
# setuptools, since what pip would fetch for that has no hash, and for Python alone, of all that it can serve.
# Wheels that the release brings were built from the same lock, and have a list with hashes of their own.
set -euo pipefail
umask 0022
pip=(python3.11 -m pip --quiet --disable-pip-version-check)
install=("${pip[@]}" --python venv/bin/python install --no-compile --only-binary :all:)

python3.11 -m venv --without-pip venv
if [[ -e wheels/requirements.txt ]]; then
    "${install[@]}" --require-hashes --no-index --find-links wheels --requirement wheels/requirements.txt
    exit
fi

mkdir build
trap wait EXIT # whoever removes a release that failed finds nobody at work in it
awk '/^-/ {print > "build/source.txt"} # an option, such as the index, is for both
    /^[^ ]/ {list = tolower($0) ~ /^uwsgi==/ ? "build/source.txt" : "build/wheels.txt"}
    {print > list}' requirements.txt
UWSGI_PROFILE=pyonly "${pip[@]}" wheel --require-hashes --no-deps --no-binary uwsgi --no-build-isolation \
    --wheel-dir build --requirement build/source.txt &
"${install[@]}" --require-hashes --requirement build/wheels.txt
wait $!
"${install[@]}" --no-deps --no-index --find-links build uwsgi
rm -r build
