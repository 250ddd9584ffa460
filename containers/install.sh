#!/bin/sh
# Install mrcascade from SOURCE into /opt/mrcascade, with torch from the package index INDEX and all
# versions of constraints.txt. Both images run this while they are built.
#
#   install.sh SOURCE INDEX
set -eu
source=$1
index=$2
export PIP_CONSTRAINT="$source/containers/constraints.txt" PIP_NO_CACHE_DIR=1 \
  PIP_DISABLE_PIP_VERSION_CHECK=1
python -m venv /opt/mrcascade
# An index of torch builds has other packages in old versions only, so they come from PyPI.
/opt/mrcascade/bin/pip install --no-deps --index-url "$index" torch
/opt/mrcascade/bin/pip install "$source"
/opt/mrcascade/bin/pip check
/opt/mrcascade/bin/mrcascade info
