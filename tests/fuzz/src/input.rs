//! Reads choices and content from the bytes of a fuzz input.

/// A reader of bytes. After the last byte it returns zeros.
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

    /// Reads a number below `end` from one byte. An ASCII digit gives its value, so seeds are readable. `end` is at
    /// most ten.
    pub(crate) fn digit(&mut self, end: usize) -> usize {
        usize::from(self.byte().wrapping_sub(b'0')) % end
    }

    /// Reads a number below `end` from two bytes.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::from(u16::from_be_bytes([self.byte(), self.byte()])) % end.max(1)
    }

    /// Reads a number of eight bytes.
    pub(crate) fn number(&mut self) -> i64 {
        i64::from_be_bytes([0; 8].map(|_: u8| self.byte()))
    }

    /// Reads up to the next `end`, which is skipped, or all remaining bytes if there is none.
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
