//! Peak memory of this process, where the system tells.

/// Starts a new peak, where the system allows it; otherwise peaks only grow over the process's life.
pub fn restart_peak() {
    // Linux: writing 5 resets the high-water mark (proc(5), clear_refs).
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// Peak resident set in bytes since [`restart_peak`], or `None` where the system does not tell.
#[must_use]
pub fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024)
}
