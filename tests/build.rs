//! Finds out whether this machine can start the hosts of `settled_tests::host`. Where it cannot, what needs them is ignored by name,
//! rather than passed without having been tried.

use std::path::Path;
use std::process::Command;

/// Whether somebody here may do all that `tests/hosts/host.sh` does.
fn hosts() -> bool {
    let trial = "mount -t cgroup2 none /mnt && ip link add tests0 type veth peer name tests1";
    let mut namespaces = Command::new("unshare");
    namespaces.args(["--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", trial]);
    let can = namespaces.output().is_ok_and(|done| done.status.success());
    can && ["/usr/bin/mmdebstrap", "/usr/bin/nsenter"].iter().all(|program| Path::new(program).exists())
}

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=/usr/bin/mmdebstrap");
    println!("cargo::rerun-if-env-changed=USER");
    println!("cargo::rerun-if-env-changed=HOME");
    println!("cargo::rustc-check-cfg=cfg(hosts)");
    if hosts() {
        println!("cargo::rustc-cfg=hosts");
    }
}
