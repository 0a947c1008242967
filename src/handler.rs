#![allow(missing_docs, dead_code)]
use crate::error::*;
use crate::event::*;
use std::{future::Future, panic::Location, sync::Arc, time::Duration};
pub trait HandlerOutput {
    fn into_result(self) -> Result<(), BoxError>;
}
impl HandlerOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}
impl<E: Into<BoxError>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}
pub trait Event: Send + Sync + 'static {}
impl Event for ResetTokenCreated {}
impl Event for PrePasswordReset {}
impl Event for PostPasswordReset {}
#[derive(Default)]
pub(crate) struct HandlersBuilder;
impl HandlersBuilder {
    pub(crate) fn data<T: Send + Sync + 'static>(&mut self, _v: T) {}
    pub(crate) fn add<E: Event, F, Fut, O>(&mut self, _h: F, _l: &'static Location<'static>)
    where
        F: Fn(Arc<E>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = O> + Send + 'static,
        O: HandlerOutput,
    {
    }
    pub(crate) fn linked(&mut self, _l: bool) {}
    pub(crate) fn timeout(&mut self, _l: Duration) {}
    pub(crate) fn build(self, _p: &mut Vec<Problem>) -> Handlers {
        Handlers
    }
}
#[derive(Clone)]
pub(crate) struct Handlers;
impl Handlers {
    pub(crate) fn names(&self) -> String {
        String::new()
    }
    pub(crate) async fn announce<E: Event>(&self, _e: Arc<E>) -> usize {
        0
    }
    pub(crate) async fn ask(&self, _e: Arc<PrePasswordReset>) -> Result<(), BoxError> {
        Ok(())
    }
}
