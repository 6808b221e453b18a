#!/bin/bash
# Stops what up.sh started.
source "$(dirname "$0")/env.sh"
for name in kyverno background-controller kube-apiserver etcd; do stop "$name"; done
