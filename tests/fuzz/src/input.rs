//! An input as choices and content.

/// Bytes, taken from the front. An input never ends: behind its last byte there are zeros.
pub(crate) struct Input<'i> {
    rest: &'i [u8],
}

impl<'i> Input<'i> {
    pub(crate) fn new(input: &'i [u8]) -> Self {
        Self { rest: input }
    }

    pub(crate) fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.rest.split_first() else { return 0 };
        self.rest = rest;
        *first
    }

    /// A number below `end`, which is at most ten: of one byte, so that a digit in a seed is what it looks like.
    pub(crate) fn digit(&mut self, end: usize) -> usize {
        usize::from(self.byte().wrapping_sub(b'0')) % end
    }

    /// A number below `end`, of two bytes.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % end.max(1)
    }

    /// A number of eight bytes.
    pub(crate) fn number(&mut self) -> i64 {
        i64::from_be_bytes([0; 8].map(|_: u8| self.byte()))
    }

    /// What stands before the next `end`, which is dropped; all the rest if there is none.
    pub(crate) fn until(&mut self, end: u8) -> &'i [u8] {
        let at = self.rest.iter().position(|byte| *byte == end).unwrap_or(self.rest.len());
        let (content, rest) = self.rest.split_at(at);
        self.rest = rest.get(1..).unwrap_or_default();
        content
    }

    pub(crate) fn rest(&self) -> &'i [u8] {
        self.rest
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }
}
