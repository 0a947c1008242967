//! Injection of poem's [`Data`] into handlers.

use std::any::{TypeId, type_name};

use poem::web::Data;

use super::{Deps, FromDeps, Requirements};
use crate::error::BoxError;

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Data<&'a T> {
    fn require(requirements: &mut Requirements) {
        requirements.0.push((TypeId::of::<T>(), type_name::<T>()));
    }

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        deps.get().map(Data).ok_or_else(|| format!("no value of type {}", type_name::<T>()).into())
    }
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Option<Data<&'a T>> {
    fn require(_: &mut Requirements) {}

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        Ok(deps.get().map(Data))
    }
}
