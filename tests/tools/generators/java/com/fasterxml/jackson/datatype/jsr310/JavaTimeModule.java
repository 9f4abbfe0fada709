package com.fasterxml.jackson.datatype.jsr310;

/** In place of jackson-datatype-jsr310, which Debian does not have: nothing here has a time. */
public class JavaTimeModule extends com.fasterxml.jackson.databind.module.SimpleModule {}
