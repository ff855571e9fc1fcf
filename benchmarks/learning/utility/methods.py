"""What the methods are called in tables and pictures."""

from __future__ import annotations

LATE = {
    "nothing_missing": "nothing missing",
    "without_them": "a model trained without these features: the bound",
    "teacher_32": "Cascade, teacher, 32 draws",
    "teacher_8": "Cascade, teacher, 8 draws",
    "teacher_1": "Cascade, teacher, 1 draw",
    "student_32": "Cascade, student, 32 draws",
    "student_8": "Cascade, student, 8 draws",
    "student_1": "Cascade, student, 1 draw",
    "xgboost_hidden": "XGBoost that learnt with a fifth of the cells hidden",
    "iterative": "IterativeImputer",
    "knn": "kNN",
    "median_mode": "median, mode",
    "xgboost": "XGBoost's own handling",
}
AUGMENTATION = {
    "nothing": "nothing",
    "class_weights": "class weights",
    "random_oversampling": "random oversampling",
    "smote_nc": "SMOTE-NC",
    "student": "Cascade, student",
    "teacher": "Cascade, teacher",
}
