"""Files as people have them, to columns: how bytes are opened, what cells mean, what is said of it.

A column of a CSV file is read twice. The first time only counts how its cells are written
(`shapes`), and what they are is decided from the counts (`choosing`); the second time the cells are
converted in the form that was chosen (`forms`). So no more than a block of the file is ever held
as text, one odd cell far down changes no column's type, and a second file can be read in the very
forms of the first.
"""
