//! placeholder
use super::{Report, ReportError};
impl Report {
    /// HTML.
    ///
    /// # Errors
    /// never
    pub fn html(&self) -> Result<String, ReportError> {
        Ok(String::new())
    }
}
