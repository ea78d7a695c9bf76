"""Small trainings and measurements of the section: pre-training, dates to ISO form, reach over distance, speed over length."""
