//! placeholder
use super::Report;
impl Report {
    /// Table.
    #[must_use]
    pub fn table(&self) -> String {
        self.runs.iter().map(|r| format!("{} S {:?} ES {:.3} EM {:.3} PS {:.3?} NS {:.3?} rw {:.3} rp {:.3?} loc {:.3?} s {:?} rss {:?} rb {:?} fail {}\n", r.method, r.metrics.S, r.metrics.ES, r.metrics.EM, r.metrics.PS, r.metrics.NS, r.metrics.rewrite_acc, r.metrics.rephrase_acc, r.metrics.locality_acc, r.seconds_per_edit, r.peak_rss_bytes, r.rollback_exact, r.failures.len())).collect()
    }
}
