output "json" {
  description = "The key policy."
  # The statements differ in shape, which a list cannot hold: each is encoded by itself.
  value = format(
    "{\"Version\":\"2012-10-17\",\"Id\":\"blindgate-key-policy\",\"Statement\":[%s]}",
    join(",", concat(
      [for statement in local.administration : jsonencode(statement)],
      [for statement in local.wrapping : jsonencode(statement)],
      [for statement in local.release : jsonencode(statement)],
      [for statement in local.denials : jsonencode(statement)],
    ))
  )
}

output "images" {
  description = "PCR0 of every image that may open data, by set."
  value       = { for name, values in local.sets : name => values["PCR0"] }
}
