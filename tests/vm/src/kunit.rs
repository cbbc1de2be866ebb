// SPDX-License-Identifier: GPL-2.0

//! Runs the driver's KUnit tests at a guest's boot and has the kernel's own kunit.py read the
//! result.

use anyhow::{Context, Result};
use serde_json::Value;
use std::{path::Path, process::Command};
use vm::{qemu::Machine, tally::Tally};

/// Boots `image` and counts the tests of all suites whose names begin with `virtgpu`.
pub fn run(image: &Path, kunit_py: &Path, out: &Path) -> Result<Tally> {
    let words = "kunit.enable=1 kunit.filter_glob=virtgpu* kunit_shutdown=poweroff";
    let mut vm = Machine::new(image).direct().append(words).start(out)?;
    vm.wait_end()?;
    vm.check_guest_errors()?;
    // kunit.py changes to the kernel's folder before it opens a file.
    let out = out.canonicalize()?;
    let (serial, json) = (out.join("serial.log"), out.join("kunit.json"));
    let output = Command::new("python3")
        .arg(kunit_py)
        .arg("parse")
        .arg(format!("--json={}", json.display()))
        .arg(&serial)
        .output()
        .context("cannot run python3")?;
    print!("{}", String::from_utf8_lossy(&output.stdout));
    let parsed = std::fs::read(&json).with_context(|| {
        format!(
            "kunit.py read nothing from {}: {}",
            serial.display(),
            String::from_utf8_lossy(&output.stderr)
        )
    })?;
    let mut tally = count(&serde_json::from_slice(&parsed)?);
    if tally.failed == 0 && !output.status.success() {
        println!("kunit.py finds fault with {} itself", serial.display());
        tally.count(false);
    }
    Ok(tally)
}

/// Counts a group's tests and those of the groups in it. A skipped test counts as neither.
fn count(group: &Value) -> Tally {
    let mut tally = Tally::default();
    let all = |name: &str| group[name].as_array().cloned().unwrap_or_default();
    for test in all("test_cases") {
        if test["status"] != "SKIP" {
            tally.count(test["status"] == "PASS");
        }
    }
    for group in all("sub_groups") {
        tally += count(&group);
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn counts_nested_groups() {
        let group = json!({ "test_cases": [], "sub_groups": [
            { "test_cases": [{ "status": "PASS" }, { "status": "ERROR" }, { "status": "SKIP" }] },
            { "sub_groups": [{ "test_cases": [{ "status": "FAIL" }, { "status": "PASS" }] }] },
        ]});
        assert_eq!(
            count(&group),
            Tally {
                passed: 2,
                failed: 2
            }
        );
    }
}
