//! Answers queries about connections, with the reason for each verdict.

mod answer;
mod explain;
mod page;
mod text;

pub use answer::{Answer, NearestRule, PolicyReference, Reason, RuleReference, Side};
pub use explain::{Explainer, ask};
pub use page::reach_page;
pub use text::side_text;
