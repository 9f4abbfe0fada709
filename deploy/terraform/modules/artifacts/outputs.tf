output "bucket" {
  description = "Name of the bucket: where `deploy/publish.py` uploads to."
  value       = aws_s3_bucket.this.id
}

output "arn" {
  description = "ARN of the bucket."
  value       = aws_s3_bucket.this.arn
}
