//! Injection of poem's [`Data`], for handlers written in the style of poem's endpoints.

use poem::web::Data;

use super::{Deps, FromDeps, Requirements};
use crate::error::BoxError;

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Data<&'a T> {
    fn require(requirements: &mut Requirements) {
        <&T>::require(requirements);
    }

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        <&T>::from_deps(deps).map(Data)
    }
}

impl<'a, T: Send + Sync + 'static> FromDeps<'a> for Option<Data<&'a T>> {
    fn require(requirements: &mut Requirements) {
        <Option<&T>>::require(requirements);
    }

    fn from_deps(deps: &'a Deps) -> Result<Self, BoxError> {
        Ok(<Option<&T>>::from_deps(deps)?.map(Data))
    }
}
