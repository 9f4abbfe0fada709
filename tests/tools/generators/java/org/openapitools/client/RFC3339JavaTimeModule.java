package org.openapitools.client;

/** In place of the generator's own, which needs jackson-datatype-jsr310. */
public class RFC3339JavaTimeModule extends com.fasterxml.jackson.databind.module.SimpleModule {}
