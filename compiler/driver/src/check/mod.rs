//! Checks programs and manifests.

mod checked;
mod interrupt;
mod levels;
mod manifests;
mod repair;
mod session;

pub use checked::Checked;
pub use interrupt::{Interrupt, Stop, Stopped, Uninterrupted};
pub(crate) use levels::CODES;
pub use manifests::check_manifests;
pub use session::{Depth, Input, Session, check};
